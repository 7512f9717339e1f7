package server_test

import (
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/ec2messages"
	wire "oakum.dev/wire/ssm"
)

// Two servers on one PostgreSQL database are one installation.
//
// proves
func TestTwoServersOnPostgres(t *testing.T) {
	t.Parallel()
	a := servertest.Start(t, "postgres")
	b := a.Beside()
	ctx, atA, atB := t.Context(), a.SSM(a.Admin), b.SSM(a.Admin)
	nodes := a.Nodes(6, wire.Tag{Key: new("Env"), Value: new("two")})

	// A command sent to one server wakes a poll that is parked at the other.
	n := nodes[0].At(b)
	got := make(chan []ec2messages.Message, 1)
	go func() {
		list, err := n.Poll(ctx)
		if err != nil {
			t.Error(err)
		}
		got <- list
	}()
	for b.Parked() == 0 {
		time.Sleep(time.Millisecond) // until the other goroutine's request has arrived
	}
	cmd := must[*ssm.SendCommandOutput](t)(atA.SendCommand(ctx, shell(n.ID))).Command
	start := time.Now()
	list := <-got
	if len(list) != 1 || time.Since(start) > 5*time.Second {
		t.Fatalf("%d messages at the other server after %v", len(list), time.Since(start))
	}
	try(t, nodes[0].Finish(ctx, *list[0].MessageId, "Success", 0, "x")) // the reply goes to the first
	if g := invocation(t, atB, cmd.CommandId, n.ID); g.Status != "Success" {
		t.Errorf("the other server says %s", g.Status)
	}

	// The bound on concurrency holds over both, and no message is offered by both.
	big := must[*ssm.SendCommandOutput](t)(atB.SendCommand(ctx, &ssm.SendCommandInput{
		DocumentName: str("AWS-RunShellScript"), Targets: []types.Target{{Key: str("tag:Env"), Values: []string{"two"}}}, Parameters: map[string][]string{"commands": {"true"}},
		MaxConcurrency: str("2"), MaxErrors: str("100%"),
	})).Command
	var mu sync.Mutex
	open, most, seen := 0, 0, map[string]int{}
	var wg sync.WaitGroup
	for i := 0; i < 12; i++ { // each node polls both servers
		n := nodes[i%6]
		if i >= 6 {
			n = n.At(b)
		}
		wg.Go(func() {
			for range 12 {
				for _, m := range n.PollNow(ctx) {
					mu.Lock()
					seen[*m.MessageId]++
					open++
					most = max(most, open)
					mu.Unlock()
					time.Sleep(20 * time.Millisecond) // the script runs
					mu.Lock()
					open--
					mu.Unlock()
					if err := n.Finish(ctx, *m.MessageId, "Success", 0, ""); err != nil {
						t.Error(err)
					}
				}
				if c := commandOf(t, atA, big.CommandId); c.Status == "Success" {
					return
				}
			}
		})
	}
	wg.Wait()
	if most > 2 {
		t.Errorf("%d ran at once, MaxConcurrency is 2", most)
	}
	for id, k := range seen {
		if k > 1 {
			t.Errorf("%s was offered %d times", id, k)
		}
	}
	if c := commandOf(t, atA, big.CommandId); c.CompletedCount != 6 || c.Status != "Success" {
		t.Errorf("command = %s, %d of 6 completed", c.Status, c.CompletedCount)
	}

	// What one deregisters the other refuses within 30 s.
	try(t, n.Heartbeat(ctx))
	must[*ssm.DeregisterManagedInstanceOutput](t)(atA.DeregisterManagedInstance(ctx, &ssm.DeregisterManagedInstanceInput{InstanceId: aws.String(n.ID)}))
	a.Advance(30 * time.Second)
	refused(t, "a heartbeat at the other server", n.Heartbeat(ctx), "UnrecognizedClientException", "")

	// An administrator's page of one server goes on at the other.
	first := must[*ssm.DescribePatchBaselinesOutput](t)(atA.DescribePatchBaselines(ctx, &ssm.DescribePatchBaselinesInput{MaxResults: aws.Int32(5)}))
	rest := must[*ssm.DescribePatchBaselinesOutput](t)(atB.DescribePatchBaselines(ctx, &ssm.DescribePatchBaselinesInput{MaxResults: aws.Int32(5), NextToken: first.NextToken}))
	if len(rest.BaselineIdentities) != 5 {
		t.Errorf("the second page has %d rows", len(rest.BaselineIdentities))
	}
}
