"""All code that uses vLLM. `make lint` makes sure that no other room imports it, and
deploy/vllm_surface.py records the names and signatures that are used here.
"""
