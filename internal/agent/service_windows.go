package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

// Serve runs the agent under the service manager. It tells the manager at once that it runs, and does what takes time
// only then: a machine that is busy with updates after its boot gives a service 30 seconds.
func Serve(stateDir string, run func(ctx context.Context, log *slog.Logger) error) error {
	s := &service{stateDir: stateDir, run: run}
	if err := svc.Run(ServiceName, s); err != nil {
		return err
	}
	return s.err
}

type service struct {
	stateDir string
	run      func(ctx context.Context, log *slog.Logger) error
	err      error
}

// Execute implements svc.Handler.
func (s *service) Execute(_ []string, requests <-chan svc.ChangeRequest, changes chan<- svc.Status) (bool, uint32) {
	const accepts = svc.AcceptStop | svc.AcceptShutdown
	changes <- svc.Status{State: svc.Running, Accepts: accepts}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		file, err := openLog(filepath.Join(s.stateDir, "agent.log"))
		if err != nil {
			ended <- err
			return
		}
		defer file.Close()
		log := slog.New(slog.NewJSONHandler(file, nil))
		if err = s.run(ctx, log); err != nil {
			log.LogAttrs(ctx, slog.LevelError, "the agent ended", slog.Any("err", err))
		}
		ended <- err
	}()
	for {
		select {
		case s.err = <-ended:
			if s.err != nil {
				return true, 1 // the manager starts it again
			}
			return false, 0
		case c := <-requests:
			switch c.Cmd {
			case svc.Interrogate:
				changes <- c.CurrentStatus
			case svc.Stop, svc.Shutdown:
				changes <- svc.Status{State: svc.StopPending, WaitHint: 20000}
				cancel()
			}
		}
	}
}

// installService registers the agent: as SYSTEM, started some time after the boot, started again whenever it ends.
func installService(sys *System, stateDir string) (string, error) {
	m, err := mgr.Connect()
	if err != nil {
		return "", fmt.Errorf("connect to the service manager: %w", err)
	}
	defer func() { _ = m.Disconnect() }() // nothing can be done about it
	config := mgr.Config{
		DisplayName: "Oakum node agent", Description: "Patches this machine as its Oakum server says.", StartType: mgr.StartAutomatic,
		ErrorControl: mgr.ErrorNormal, ServiceType: windows.SERVICE_WIN32_OWN_PROCESS,
	}
	args := []string{"agent", "run", "--service", "--state-dir", stateDir}
	s, err := m.OpenService(ServiceName)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		s, err = m.CreateService(ServiceName, sys.Executable, config, args...)
	} else if err == nil {
		if err = stopService(s); err == nil {
			config.BinaryPathName = windows.ComposeCommandLine(append([]string{sys.Executable}, args...))
			if err = s.UpdateConfig(config); unknownLevel(err) {
				err = nil // what is beyond program and start
			}
		}
	}
	if err != nil {
		return "", fmt.Errorf("register the service %s: %w", ServiceName, err)
	}
	defer s.Close()
	if err := comfort(s, config); err != nil {
		return ServiceName, err
	}
	if err := s.Start(); err != nil && !errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
		return ServiceName, fmt.Errorf("start the service %s: %w", ServiceName, err)
	}
	return ServiceName, nil
}

// comfort has the service started a while after the boot, and again whenever it ends. What a system's service manager does
// not know is left out.
func comfort(s *mgr.Service, config mgr.Config) error {
	config.DelayedAutoStart = true
	have, err := s.Config()
	if err == nil {
		config.BinaryPathName, config.ServiceStartName = have.BinaryPathName, have.ServiceStartName
		err = s.UpdateConfig(config)
	}
	if err != nil && !unknownLevel(err) {
		return fmt.Errorf("have the service %s started after the boot: %w", ServiceName, err)
	}
	again := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: 10 * time.Second}
	if err := s.SetRecoveryActions([]mgr.RecoveryAction{again, again, again}, 24*60*60); err != nil && !unknownLevel(err) {
		return fmt.Errorf("have the service %s started again when it ends: %w", ServiceName, err)
	}
	if err := s.SetRecoveryActionsOnNonCrashFailures(true); err != nil && !unknownLevel(err) {
		return fmt.Errorf("have the service %s started again when it fails: %w", ServiceName, err)
	}
	return nil
}

func unknownLevel(err error) bool { return errors.Is(err, windows.ERROR_INVALID_LEVEL) }

func uninstallService() error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("connect to the service manager: %w", err)
	}
	defer func() { _ = m.Disconnect() }() // nothing can be done about it
	s, err := m.OpenService(ServiceName)
	if err != nil {
		return fmt.Errorf("there is no service %s: %w", ServiceName, err)
	}
	defer s.Close()
	if err := stopService(s); err != nil {
		return err
	}
	return s.Delete()
}

// stopService waits until a service has stopped, 30 seconds at most.
func stopService(s *mgr.Service) error {
	st, err := s.Control(svc.Stop)
	if errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
		return nil
	}
	for until := time.Now().Add(30 * time.Second); err == nil && st.State != svc.Stopped; st, err = s.Query() {
		if time.Now().After(until) {
			return fmt.Errorf("the service %s has not stopped after 30 seconds", ServiceName)
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}
