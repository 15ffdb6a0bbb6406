"""The same three training steps in several frameworks, for `benchmarks/bench.py`. Each runs in a process of its own."""
