"""What a run takes, counted: shapes, cards, memory, speed."""
