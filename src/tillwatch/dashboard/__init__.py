"""Web pages of a pipeline, live and read-only, from its state alone.

`app` puts the views together, `access` says who may look, `watch` reads the state once for all who do, `live` tells
their pages of what is new. A view is a module with `routes`, its templates, and what it asks of the state.
"""
