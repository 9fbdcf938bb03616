"""All that touches vLLM. No other room imports it, which `make lint` holds, and
deploy/vllm_surface.py records the names and signatures that are used here.
"""
