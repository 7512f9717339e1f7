package apt

import (
	"fmt"
	"os"
	"testing"
)

func TestDumpRoot(t *testing.T) {
	var seed uint64
	if _, err := fmt.Sscan(os.Getenv("DUMP"), &seed); err != nil {
		t.Skip()
	}
	dir := "/tmp/oak/h1/root"
	os.RemoveAll(dir)
	randomRoot(seed, "2.6.1").write(t, dir)
	pointApt(t, "/", dir)
}
