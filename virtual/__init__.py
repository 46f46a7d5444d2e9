"""The world a loop is tried in: sampled patients, sensors, pumps, meals, surgery, and the clock that moves them all."""
