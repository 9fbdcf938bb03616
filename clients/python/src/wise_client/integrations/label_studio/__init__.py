"""An ML backend of Label Studio: `wise-segment label-studio` (docs/label-studio.md)."""
