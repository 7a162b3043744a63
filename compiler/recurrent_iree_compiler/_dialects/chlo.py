"""No classes of its own: its operations are `ir.OpView`."""
