"""Energy and money, hour by hour: what was used, what it cost, and how well that is known.

entry     the rows: energy over a span of time inside one price slot, and how it is rated
split     energy between two instants over price slots; pure and exact
tape      what the meter said since the last row, minute by minute
keeper    writes, rates, and rates again when prices were revised
summary   energy and money by day, week or run; pure
"""
