"""What the simulated backend is made of: scenario, conversation, prompt cache, reply. All of it pure but the cache's clock.

No model: replies are scripted or derived from the request.
"""
