package server_test

import (
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest/servertest"
)

// Trap A12: a machine that was put back to a snapshot counts its scans from an older number, maybe in the same boot, and
// has older packages. What it reports afterwards is its state.
func TestTrap_A12_RestoredSnapshot(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1)[0]
		for i, seq := range []int64{10, 3} {
			state1 := []compliance.State{compliance.Installed, compliance.Missing}[i]
			rep := result(s.Now().Add(time.Duration(i)*2*time.Second), item("openssl", state1, baseline.Critical, "Security"))
			rep.Header.BootID, rep.Header.ScanSeq = "boot", seq
			try(t, n.PutResult(ctx, rep))
			if got := state(t, c, n.ID).MissingCount; got != int32(i) {
				t.Errorf("after scan %d: MissingCount = %d, want %d", seq, got, i)
			}
		}
	})
}
