"""What the simulated backend is made of: scenario, conversation, prompt cache, reply, writing. Pure but for one clock.

No model: replies are scripted or derived from the request.
"""
