"""homerun report: a run so far as text, as a page, as a picture. Data by the API, drawing pure."""
