package apt

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/patch"
)

// aptSays answers apt-get -s by its last argument; of others it says that it refuses.
type aptSays map[string]string

func (a aptSays) Run(_ context.Context, c patch.Command) (patch.Output, error) {
	text, ok := a[c.Args[len(c.Args)-1]]
	if !ok {
		return patch.Output{Code: 100}, nil
	}
	return patch.Output{Stdout: []byte(text)}, nil
}

// What apt would install only by taking another package away is not what an Install puts in.
func TestScanTellsWhatOnlyARemovalMakesRoomFor(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("foo", "1.0", "")
	r.install("bar", "1.0", "")
	r.install("free", "1.0", "")
	s := r.suite("s", releaseMain)
	s.add("foo", "1.1", "Conflicts: bar\n")
	s.add("bar", "1.0", "")
	s.add("free", "1.1", "")
	dir := t.TempDir()
	r.write(t, dir)
	free := "Inst free [1.0] (1.1 Test:12.0/stable [all])\n"
	cfg := Config{FS: os.DirFS(dir), Root: dir, Exec: aptSays{
		"dist-upgrade": "Remv bar [1.0]\n" + free + "Inst foo [1.0] (1.1 Test:12.0/stable [all])\n", "upgrade": free,
	}}
	e := patch.Engine{Manager: New(cfg), Now: func() time.Time { return november }}
	res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, i := range res.Items {
		got[i.Name] = string(i.State) + " " + i.Reason
	}
	want := map[string]string{"foo": "Missing removal", "free": "Missing ", "bar": "Installed "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}
