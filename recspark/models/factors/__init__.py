"""Factor models of users and items: estimators, models, lists, updates."""
