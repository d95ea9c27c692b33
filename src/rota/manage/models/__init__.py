"""Model registry: models, versions, aliases, bundles and the endpoints that serve them."""
