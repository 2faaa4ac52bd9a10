"""How anything trainable is trained: recipe, images in order, Lightning module, loop. Used by pomelo_lab.train."""
