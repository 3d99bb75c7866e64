"""A month in seconds: the real supervisor on a simulated clock, home and engine.

wish      what is asked for: work, deadline, prices, outages, games, seed
events    what happens in the house: spans given or drawn from the seed
market    prices as they were, and the part of them that was published at a time
trainer   an engine whose trainer makes progress at the rate of its power limit
month     the loop: from event to event
answer    what came of it, against simple rules and perfect foresight
"""
