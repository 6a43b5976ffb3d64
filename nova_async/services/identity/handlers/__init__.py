"""What each route of the identity API does; ``http.ROUTES`` says who may."""
