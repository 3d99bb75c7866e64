"""homerun's supervisor: decides, watches and records; never imports torch."""
