"""`python -m rota.cli` is `rota`; the supervisor starts its children this way."""

from rota.cli.app import main

main()
