package wua

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-ole/go-ole"
	"github.com/go-ole/go-ole/oleutil"
)

// Agent is the Windows Update Agent of this machine, through its automation interfaces. Every call has a thread of its own
// on which COM is initialized, and lets go of every object before it returns: nothing is kept between calls.
type Agent struct{}

// caller is how the agent names who asks, in its history and log.
const caller = "Oakum"

// onThread runs fn on a thread with COM. When ctx ends first its error is returned; the thread, which COM holds, is left
// to itself, and what it is at goes on. Panics of the library become errors.
func onThread[T any](ctx context.Context, call string, fn func(*session) T) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		runtime.LockOSThread()
		defer func() { done <- a }()
		defer runtime.UnlockOSThread()
		defer func() {
			switch p := recover().(type) {
			case nil:
			case *ResultError:
				a.err = p
			default:
				a.err = fmt.Errorf("%s: %v\n%s", call, p, debug.Stack())
			}
		}()
		// S_FALSE: it was initialized before, by whoever had the thread.
		if err := ole.CoInitializeEx(0, ole.COINIT_MULTITHREADED); err != nil && codeOf(err) != 1 {
			a.err = &ResultError{Call: "CoInitializeEx", Code: codeOf(err)}
			return
		}
		defer ole.CoUninitialize()
		s := &session{}
		defer s.release()
		a.value = fn(s)
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// session holds the objects of one call.
type session struct{ held []*ole.IDispatch }

func (s *session) release() {
	for i := len(s.held) - 1; i >= 0; i-- {
		s.held[i].Release()
	}
}

// mark and drop let go of what a loop has taken, while the loop goes on.
func (s *session) mark() int { return len(s.held) }

func (s *session) drop(mark int) {
	for i := len(s.held) - 1; i >= mark; i-- {
		s.held[i].Release()
	}
	s.held = s.held[:mark]
}

// object is an automation object. Its methods panic with a *ResultError.
type object struct {
	s *session
	d *ole.IDispatch
}

func (s *session) create(class string) object {
	unknown, err := oleutil.CreateObject(class)
	if err != nil {
		panic(&ResultError{Call: class, Code: codeOf(err), Text: err.Error()})
	}
	defer unknown.Release()
	d, err := unknown.QueryInterface(ole.IID_IDispatch)
	if err != nil {
		panic(&ResultError{Call: class, Code: codeOf(err), Text: err.Error()})
	}
	s.held = append(s.held, d)
	return object{s, d}
}

func codeOf(err error) uint32 {
	var e *ole.OleError
	if !errors.As(err, &e) {
		return 0x80004005 // E_FAIL
	}
	// An exception of the object has the code that matters inside.
	if x, ok := e.SubError().(ole.EXCEPINFO); ok && x.SCODE() != 0 {
		return x.SCODE()
	}
	return uint32(e.Code())
}

func (o object) must(name string, v *ole.VARIANT, err error) *ole.VARIANT {
	if err != nil {
		text := err.Error()
		if e, ok := errors.AsType[*ole.OleError](err); ok && e.SubError() != nil {
			text = e.SubError().Error()
		}
		panic(&ResultError{Call: name, Code: codeOf(err), Text: strings.TrimSpace(text)})
	}
	return v
}

func (o object) get(name string, args ...any) *ole.VARIANT {
	v, err := oleutil.GetProperty(o.d, name, args...)
	return o.must(name, v, err)
}

// maybe is get for members that older agents and some updates lack.
func (o object) maybe(name string) *ole.VARIANT {
	v, err := oleutil.GetProperty(o.d, name)
	if err != nil {
		return &ole.VARIANT{}
	}
	return v
}

func (o object) put(name string, value any) {
	v, err := oleutil.PutProperty(o.d, name, value)
	_ = o.must(name, v, err).Clear() // nothing comes back
}

func (o object) object(v *ole.VARIANT) object {
	d := v.ToIDispatch()
	if d == nil {
		panic(&ResultError{Call: "object", Code: 0x80004003}) // E_POINTER
	}
	o.s.held = append(o.s.held, d) // the variant's own reference
	return object{o.s, d}
}

func (o object) member(name string, args ...any) object { return o.object(o.get(name, args...)) }

func (o object) call(name string, args ...any) *ole.VARIANT {
	v, err := oleutil.CallMethod(o.d, name, args...)
	return o.must(name, v, err)
}

func textOf(v *ole.VARIANT) string {
	s := v.ToString()
	_ = v.Clear() // the string was copied
	return s
}

func flagOf(v *ole.VARIANT) bool {
	b, ok := v.Value().(bool)
	return ok && b
}

func numberOf(v *ole.VARIANT) int64 {
	switch v.VT {
	case ole.VT_I4, ole.VT_INT:
		return int64(int32(v.Val))
	case ole.VT_UI4, ole.VT_UINT:
		return int64(uint32(v.Val))
	case ole.VT_I2:
		return int64(int16(v.Val))
	case ole.VT_I8, ole.VT_UI8:
		return v.Val
	case ole.VT_DECIMAL:
		return decimalOf(0, false, uint64(v.Val)) // sizes are whole
	}
	return 0
}

func timeOf(v *ole.VARIANT) time.Time {
	if v.VT != ole.VT_DATE {
		return time.Time{}
	}
	return dateOf(math.Float64frombits(uint64(v.Val)))
}

// each calls fn for every object of a collection, and lets go of it afterwards.
func (o object) each(fn func(object)) {
	n := int(numberOf(o.get("Count")))
	for i := range n {
		mark := o.s.mark()
		fn(o.member("Item", i))
		o.s.drop(mark)
	}
}

// texts reads a collection of strings.
func (o object) texts(name string) (out []string) {
	v := o.maybe(name)
	if v.VT != ole.VT_DISPATCH || v.Val == 0 {
		return nil
	}
	mark := o.s.mark()
	c := o.object(v)
	for i := range int(numberOf(c.get("Count"))) {
		out = append(out, textOf(c.get("Item", i)))
	}
	o.s.drop(mark)
	return out
}

func (s *session) session() object {
	o := s.create("Microsoft.Update.Session")
	o.put("ClientApplicationID", caller)
	return o
}

// search returns the result of a search.
func (s *session) search(session object, criteria string, online bool) object {
	searcher := session.object(session.call("CreateUpdateSearcher"))
	searcher.put("Online", online)
	return searcher.object(searcher.call("Search", criteria))
}

// Search implements Client.
func (Agent) Search(ctx context.Context, criteria string, online bool) (Found, error) {
	return onThread(ctx, "search for updates", func(s *session) (out Found) {
		result := s.search(s.session(), criteria, online)
		out.Result = int(numberOf(result.get("ResultCode")))
		if v := result.maybe("Warnings"); v.VT == ole.VT_DISPATCH && v.Val != 0 {
			result.object(v).each(func(w object) {
				out.Warnings = append(out.Warnings, Warning{uint32(numberOf(w.get("HResult"))), textOf(w.maybe("Message"))})
			})
		}
		result.member("Updates").each(func(u object) { out.Updates = append(out.Updates, read(u)) })
		return out
	})
}

func identityOf(u object) Identity {
	mark := u.s.mark()
	defer u.s.drop(mark)
	id := u.member("Identity")
	return Identity{textOf(id.get("UpdateID")), int(numberOf(id.get("RevisionNumber")))}
}

// read copies what matters of an IUpdate.
func read(u object) Update {
	mark := u.s.mark()
	defer u.s.drop(mark)
	out := Update{
		Identity: identityOf(u), Title: textOf(u.get("Title")), KBs: u.texts("KBArticleIDs"), Bulletins: u.texts("SecurityBulletinIDs"), CVEs: u.texts("CveIDs"),
		Severity: textOf(u.maybe("MsrcSeverity")), Released: timeOf(u.maybe("LastDeploymentChangeTime")),
		Type: map[int64]string{1: "Software", 2: "Driver"}[numberOf(u.maybe("Type"))], Supersedes: u.texts("SupersededUpdateIDs"),
		DeploymentAction: map[int64]string{1: "Installation", 2: "Uninstallation", 3: "Detection", 4: "OptionalInstallation"}[numberOf(u.maybe("DeploymentAction"))],
		Size:             numberOf(u.maybe("MaxDownloadSize")), DiskMB: numberOf(u.maybe("RecommendedHardDiskSpace")), Installed: flagOf(u.get("IsInstalled")),
		Hidden: flagOf(u.get("IsHidden")), Downloaded: flagOf(u.maybe("IsDownloaded")), Mandatory: flagOf(u.maybe("IsMandatory")), Beta: flagOf(u.maybe("IsBeta")),
		EulaAccepted: flagOf(u.get("EulaAccepted")), AutoSelect: flagOf(u.maybe("AutoSelectOnWebSites")), BrowseOnly: flagOf(u.maybe("BrowseOnly")),
		RebootRequired: flagOf(u.maybe("RebootRequired")),
	}
	u.member("Categories").each(func(c object) {
		cat := Category{ID: textOf(c.get("CategoryID")), Name: textOf(c.get("Name")), Type: textOf(c.maybe("Type"))}
		if v := c.maybe("Parent"); v.VT == ole.VT_DISPATCH && v.Val != 0 {
			cat.Family = textOf(c.object(v).maybe("Name"))
		}
		out.Categories = append(out.Categories, cat)
	})
	if v := u.maybe("InstallationBehavior"); v.VT == ole.VT_DISPATCH && v.Val != 0 {
		b := u.object(v)
		out.CanAsk, out.Exclusive = flagOf(b.maybe("CanRequestUserInput")), numberOf(b.maybe("Impact")) == 2
	}
	return out
}

// find looks updates up again in the agent's cache, and puts those that are there into a collection in the order of ids.
func (s *session) find(session object, ids []Identity) (collection object, there []bool) {
	collection, there = s.create("Microsoft.Update.UpdateColl"), make([]bool, len(ids))
	found := s.search(session, identityCriteria(ids), false).member("Updates")
	at := map[Identity]int{}
	for i := range int(numberOf(found.get("Count"))) {
		mark := s.mark()
		at[identityOf(found.member("Item", i))] = i
		s.drop(mark)
	}
	for i, id := range ids {
		n, ok := at[id]
		if !ok {
			continue
		}
		mark := s.mark()
		_ = collection.call("Add", found.member("Item", n).d).Clear() // an index, which is the order
		s.drop(mark)
		there[i] = true
	}
	return collection, there
}

// outcomes reads the result of each update of a collection.
func outcomes(result object, ids []Identity, there []bool) (out []Outcome) {
	n := 0
	for i, id := range ids {
		if !there[i] {
			out = append(out, Outcome{Identity: id, Gone: true})
			continue
		}
		mark := result.s.mark()
		r := result.object(result.call("GetUpdateResult", n))
		out = append(out, Outcome{
			Identity: id, Result: int(numberOf(r.get("ResultCode"))), Code: uint32(numberOf(r.get("HResult"))), Reboot: flagOf(r.maybe("RebootRequired")),
		})
		result.s.drop(mark)
		n++
	}
	return out
}

// AcceptEula implements Client.
func (Agent) AcceptEula(ctx context.Context, ids []Identity) ([]Outcome, error) {
	return onThread(ctx, "accept licence terms", func(s *session) (out []Outcome) {
		c, there := s.find(s.session(), ids)
		n := 0
		for i, id := range ids {
			o := Outcome{Identity: id, Result: ResultSucceeded, Gone: !there[i]}
			if there[i] {
				u := c.member("Item", n)
				if !flagOf(u.get("EulaAccepted")) {
					if _, err := oleutil.CallMethod(u.d, "AcceptEula"); err != nil {
						o.Result, o.Code = ResultFailed, codeOf(err)
					}
				}
				n++
			}
			out = append(out, o)
		}
		return out
	})
}

// Download implements Client.
func (Agent) Download(ctx context.Context, ids []Identity) ([]Outcome, error) {
	return onThread(ctx, "download updates", func(s *session) []Outcome {
		session := s.session()
		c, there := s.find(session, ids)
		if numberOf(c.get("Count")) == 0 {
			return outcomes(c, ids, there)
		}
		d := session.object(session.call("CreateUpdateDownloader"))
		putObject(d, "Updates", c)
		return outcomes(d.object(d.call("Download")), ids, there)
	})
}

func putObject(o object, name string, value object) {
	v, err := oleutil.PutProperty(o.d, name, value.d)
	_ = o.must(name, v, err).Clear() // nothing comes back
}

// Install implements Client. It never asks: what needs somebody at the screen fails.
func (Agent) Install(ctx context.Context, ids []Identity) (InstallResult, error) {
	return onThread(context.WithoutCancel(ctx), "install updates", func(s *session) InstallResult {
		session := s.session()
		c, there := s.find(session, ids)
		if numberOf(c.get("Count")) == 0 {
			return InstallResult{Outcomes: outcomes(c, ids, there)}
		}
		i := session.object(session.call("CreateUpdateInstaller"))
		i.put("AllowSourcePrompts", false)
		if _, err := oleutil.PutProperty(i.d, "ForceQuiet", true); err != nil {
			_ = err // only newer agents have it; an update that can ask is not planned anyway
		}
		putObject(i, "Updates", c)
		r := i.object(i.call("Install"))
		return InstallResult{
			Result: int(numberOf(r.get("ResultCode"))), Code: uint32(numberOf(r.get("HResult"))), Reboot: flagOf(r.get("RebootRequired")), Outcomes: outcomes(r, ids, there),
		}
	})
}

// microsoftUpdate is the service that has updates for other Microsoft products.
const microsoftUpdate = "7971f918-a847-4430-9279-4a52d1efe18d"

// Status implements Client.
func (Agent) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return onThread(ctx, "ask for the agent's state", func(s *session) (st Status) {
		session := s.session()
		i := session.object(session.call("CreateUpdateInstaller"))
		st.Busy = flagOf(i.get("IsBusy"))
		st.RebootFirst = flagOf(i.maybe("RebootRequiredBeforeInstallation"))
		st.Reboot = flagOf(s.create("Microsoft.Update.SystemInfo").get("RebootRequired"))
		if v := s.create("Microsoft.Update.AutoUpdate").maybe("Results"); v.VT == ole.VT_DISPATCH && v.Val != 0 {
			r := session.object(v)
			st.LastSearch, st.LastInstall = timeOf(r.maybe("LastSearchSuccessDate")), timeOf(r.maybe("LastInstallationSuccessDate"))
		}
		s.create("Microsoft.Update.ServiceManager").member("Services").each(func(service object) {
			st.MicrosoftUpdate = st.MicrosoftUpdate || strings.EqualFold(textOf(service.get("ServiceID")), microsoftUpdate)
		})
		if v, err := oleutil.CallMethod(s.create("Microsoft.Update.AgentInfo").d, "GetInfo", "ProductVersionString"); err == nil {
			st.Version = textOf(v)
		}
		return st
	})
}

// History implements Client.
func (Agent) History(ctx context.Context, n int) ([]Event, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	return onThread(ctx, "read the history", func(s *session) (out []Event) {
		session := s.session()
		searcher := session.object(session.call("CreateUpdateSearcher"))
		total := int(numberOf(searcher.call("GetTotalHistoryCount")))
		if total == 0 {
			return nil
		}
		searcher.object(searcher.call("QueryHistory", 0, min(n, total))).each(func(e object) {
			mark := s.mark()
			id := e.member("UpdateIdentity")
			out = append(out, Event{
				Identity: Identity{textOf(id.get("UpdateID")), int(numberOf(id.get("RevisionNumber")))}, Title: textOf(e.maybe("Title")),
				Operation: int(numberOf(e.get("Operation"))), Result: int(numberOf(e.get("ResultCode"))), Code: uint32(numberOf(e.get("HResult"))), At: timeOf(e.get("Date")),
			})
			s.drop(mark)
		})
		return out
	})
}
