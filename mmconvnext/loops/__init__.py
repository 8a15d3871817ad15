"""Training loops for mmengine's runner."""
