"""Migrations. A new one is written by alembic from the difference to the tables:

from alembic import command
from orchestrator.store.migrate import config
command.revision(config(), message="what changes", rev_id="0002", autogenerate=True)

with a ``connection`` to an up-to-date store in the config's ``attributes``.
"""
