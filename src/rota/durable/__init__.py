"""The durable floor: workflows whose finished steps survive kill -9, and the workers that execute them."""
