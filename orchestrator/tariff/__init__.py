"""The price of electricity as a function of time.

slots        a span of time with one price; a series of them as a market published it
csv_file     prices from a file
when         days, hours, months, dates: when a zone or a tier holds
components   what a price is the sum of: flat, time-of-use, tiers, dynamic
tariff       the sum, VAT included, in UTC slots
forecast     prices beyond what is published
table        the [tariff] table of homerun.toml; presets and markets fill it in
services     one file each: where published prices come from
fetching     when to ask a service again; sanity: what is not to be believed
keeper       the only part with effects: asks, checks, stores, tells
"""
