"""What models are worth: measurements, suites of them, and models side by side."""
