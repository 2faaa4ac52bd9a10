"""What makes results: components, their provenance, the store, jobs, plans and scores. Reports read what it stored."""
