"""Corpora that are fetched from a hub, and the commands of ``homerun data``.

sources   which corpora there are, and what their files are called
hub       the Hugging Face Hub: what a dataset holds, and its bytes from any place on
download  one file: resumed, retried, checked
fetch     as many shards as wanted
manifest  what lies in a fetched directory, so that it can be verified without a network
__main__  the command line; none of this needs PyTorch
"""
