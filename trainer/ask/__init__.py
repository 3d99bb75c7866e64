"""What a person asks of a trained model: text, a conversation, a verdict on a text.

trained       opens a run's model from a checkpoint, read only, whatever its recipe
sampling      one text
conversation  text in turns
evaluation    bits per byte
texts         files and standard input as batches
screen        text for a terminal as it comes
__main__      the command line, which ``homerun sample``, ``chat`` and ``eval`` start
"""
