"""The workflow runtime. Of the gateway it knows `gateway.contract` and nothing else."""
