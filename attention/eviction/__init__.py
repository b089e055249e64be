"""KV eviction: which keys a layer keeps when it may keep only so many.  One policy a file, `chunks` the loop."""
