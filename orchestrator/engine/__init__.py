"""The engine: the expendable process below the daemon that owns Ray and the trainer."""
