"""What a RAG is for, measured: `python -m benchmarks.claims`."""
