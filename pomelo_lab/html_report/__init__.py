"""One HTML page of finished jobs: `pomelo-lab report`."""
