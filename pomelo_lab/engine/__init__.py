"""Jobs and their results: components, provenance, the store of artefacts, plans and scores. Reports read the store."""
