package system

import (
	"context"

	"oakum.dev/patch"
)

// repeats is how often a program is run that a signal ends each time.
const repeats = 3

// Repeat returns an Exec that runs a program again when a signal ended it that was not ours: the next one may live. Lasting
// ones, which may have changed something by then, are run once.
func Repeat(exec patch.Exec) patch.Exec {
	if exec == nil {
		return nil
	}
	return repeater{exec}
}

type repeater struct{ patch.Exec }

func (r repeater) Run(ctx context.Context, c patch.Command) (out patch.Output, err error) {
	for range repeats {
		out, err = r.Exec.Run(ctx, c)
		if err != nil || out.Code >= 0 || c.Lasting || ctx.Err() != nil {
			break
		}
	}
	return out, err
}
