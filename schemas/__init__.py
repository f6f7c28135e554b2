"""What valid data and valid YAML look like: pydantic models and pandera schemas.

No input or output happens here, and Dagster is never imported.
"""
