package schedule_test

import (
	"fmt"
	"time"

	"oakum.dev/schedule"
)

// A window that opens at half past two finds no such time in the night in which the clocks are put forward.
func ExampleWindow_Runs() {
	zone, err := schedule.LoadZone("Europe/Berlin")
	if err != nil {
		fmt.Println(err)
		return
	}
	nightly, err := schedule.ParseWindow("cron(30 2 ? * * *)")
	if err != nil {
		fmt.Println(err)
		return
	}
	w := schedule.Window{Schedule: nightly, Zone: zone, Duration: 4 * time.Hour, Cutoff: time.Hour}
	runs := 0
	for start := range w.Runs(time.Date(2027, time.March, 27, 0, 0, 0, 0, time.UTC)) {
		e := w.Execution(start)
		fmt.Println(schedule.FormatTime(start, zone), "last tasks before", e.CutoffAt().Format("15:04"), "end", e.End.Format("15:04"))
		if runs++; runs == 3 {
			break
		}
	}
	// Output:
	// 2027-03-27T02:30:00+01:00 last tasks before 05:30 end 06:30
	// 2027-03-28T03:00:00+02:00 last tasks before 06:00 end 07:00
	// 2027-03-29T02:30:00+02:00 last tasks before 05:30 end 06:30
}
