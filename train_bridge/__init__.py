"""From shards to models: loader, the Olmo 3 model, trainer, evaluation. The only folder that imports torch."""
