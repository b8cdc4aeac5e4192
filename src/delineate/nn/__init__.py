"""Parts of networks that model families share: backbones, pyramids, anchors, pooling, suppression. All plain torch."""
