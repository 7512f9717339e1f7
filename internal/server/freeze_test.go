package server_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

func patchCommand(operation, node string) string {
	return `{"DocumentName":"AWS-RunPatchBaseline","InstanceIds":["` + node + `"],"Parameters":{"Operation":["` + operation + `"]}}`
}

func TestFreezeRefusesInstallsAndNothingElse(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		n := s.Nodes(1)[0]
		end := s.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
		put := &oakum.PutInstallFreezeInput{Reason: new("year's end <b>"), EndDate: codec.NewTime(end)}
		var set oakum.PutInstallFreezeOutput
		try(t, s.Call(ctx, s.Admin, "oakum", "PutInstallFreeze", put, &set))
		if !*set.Active || *set.Reason != "year's end <b>" || !codec.TimeOf(set.EndDate).Equal(end) || !strings.HasSuffix(*set.By, ":user/admin") {
			t.Errorf("PutInstallFreeze = %+v", set)
		}

		before := s.Dump()
		send := func(operation string) error {
			return s.Call(ctx, s.Admin, "ssm", "SendCommand", patchCommand(operation, n.ID), nil)
		}
		refused(t, "Install while frozen", send("Install"), "InvalidParameters", "Installs are frozen in this account and region until "+end.Format(time.RFC3339)+": year's end <b>")
		unchanged(t, "a refused install changed the database", before, s.Dump())
		try(t, send("Scan"))

		// Another region is not frozen, and the node may ask.
		var got oakum.GetInstallFreezeOutput
		try(t, n.Call(ctx, "oakum", "GetInstallFreeze", &oakum.GetInstallFreezeInput{}, &got))
		if !*got.Active || *got.Reason != *set.Reason {
			t.Errorf("GetInstallFreeze by the node = %+v", got)
		}
		refused(t, "a node sets a freeze", n.Call(ctx, "oakum", "PutInstallFreeze", put, nil), "AccessDeniedException", "")
		refused(t, "a node lifts a freeze", n.Call(ctx, "oakum", "DeleteInstallFreeze", &oakum.DeleteInstallFreezeInput{}, nil), "AccessDeniedException", "")
		var sum oakum.GetFleetSummaryOutput
		try(t, s.Call(ctx, s.Reader, "oakum", "GetFleetSummary", `{}`, &sum))
		if sum.InstallFreeze == nil || !*sum.InstallFreeze.Active || *sum.InstallFreeze.Reason != *set.Reason {
			t.Errorf("GetFleetSummary.InstallFreeze = %+v", sum.InstallFreeze)
		}
		elsewhere := *s
		elsewhere.Region = "eu-north-1"
		var other oakum.GetInstallFreezeOutput
		try(t, elsewhere.Call(ctx, s.Reader, "oakum", "GetInstallFreeze", `{}`, &other))
		if *other.Active || other.Reason != nil {
			t.Errorf("GetInstallFreeze of another region = %+v", other)
		}

		// The page and the metrics tell, without the reason.
		page, metrics := plainPage(t, s.URL+"/"), plainPage(t, s.URL+"/metrics")
		if !strings.Contains(page, "frozen</strong> in region us-east-1 until "+end.Format("2006-01-02 15:04:05 MST")) || strings.Contains(page, "year") {
			t.Errorf("the landing page:\n%s", page)
		}
		if !strings.Contains(metrics, "\noakum_install_freeze_seconds{region=\"us-east-1\"} 1727") {
			t.Errorf("the metrics lack the freeze: %s", metrics)
		}

		// Put again: the start stays, reason and end change.
		put.Reason, put.EndDate = new("longer"), codec.NewTime(end.Add(time.Hour))
		s.Advance(time.Hour)
		var again oakum.PutInstallFreezeOutput
		try(t, s.Call(ctx, s.Admin, "oakum", "PutInstallFreeze", put, &again))
		if *again.Reason != "longer" || !codec.TimeOf(again.StartDate).Equal(codec.TimeOf(set.StartDate)) {
			t.Errorf("PutInstallFreeze again = %+v, was %+v", again, set)
		}

		// It ends by itself.
		s.Advance(48 * time.Hour)
		try(t, n.Login(ctx))
		try(t, n.Call(ctx, "oakum", "GetInstallFreeze", &oakum.GetInstallFreezeInput{}, &got))
		if *got.Active {
			t.Errorf("GetInstallFreeze after the end = %+v", got)
		}
		try(t, send("Install"))
		if metrics := plainPage(t, s.URL+"/metrics"); !strings.Contains(metrics, "\noakum_install_freeze_seconds{region=\"us-east-1\"} 0\n") {
			t.Errorf("the metrics after the end: %s", metrics)
		}
	})
}

func TestFreezeIsLiftedAndChecked(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		n := s.Nodes(1)[0]
		for name, tc := range map[string]struct {
			reason string
			end    time.Duration
		}{"past": {"x", -time.Second}, "too_far": {"x", 367 * 24 * time.Hour}, "no_reason": {"  ", time.Hour}, "two_lines": {"a\nb", time.Hour}} {
			before := s.Dump()
			err := s.Call(ctx, s.Admin, "oakum", "PutInstallFreeze", &oakum.PutInstallFreezeInput{Reason: &tc.reason, EndDate: codec.NewTime(s.Now().Add(tc.end))}, nil)
			refused(t, name, err, "InvalidParameters", "")
			unchanged(t, name, before, s.Dump())
		}
		refused(t, "no end", s.Call(ctx, s.Admin, "oakum", "PutInstallFreeze", `{"Reason":"x"}`, nil), "ValidationException", "")
		lift := func() bool {
			var out oakum.DeleteInstallFreezeOutput
			try(t, s.Call(ctx, s.Admin, "oakum", "DeleteInstallFreeze", &oakum.DeleteInstallFreezeInput{}, &out))
			return *out.Lifted
		}
		if lift() {
			t.Error("a freeze was lifted that was not there")
		}
		try(t, s.Call(ctx, s.Admin, "oakum", "PutInstallFreeze", &oakum.PutInstallFreezeInput{Reason: new("x"), EndDate: codec.NewTime(s.Now().Add(time.Hour))}, nil))
		if !lift() {
			t.Error("the freeze was not lifted")
		}
		try(t, s.Call(ctx, s.Admin, "ssm", "SendCommand", patchCommand("Install", n.ID), nil))
		var names []string
		for _, r := range s.Audit() {
			if strings.HasSuffix(r.EventName, "InstallFreeze") && r.ErrorCode == "" {
				names = append(names, r.EventName)
			}
		}
		slices.Sort(names) // several fall into one second
		if got := strings.Join(names, " "); got != "DeleteInstallFreeze DeleteInstallFreeze PutInstallFreeze" {
			t.Errorf("audit records: %s", got)
		}
	})
}

func plainPage(t *testing.T, url string) string {
	t.Helper()
	resp := must[*http.Response](t)(http.Get(url))
	defer resp.Body.Close()
	return string(must[[]byte](t)(io.ReadAll(resp.Body)))
}
