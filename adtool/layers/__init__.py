"""Network parts that two or more models use, one part per file."""
