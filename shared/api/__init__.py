"""What every HTTP route needs: bodies and answers, who may call, lists by cursor, limits."""
