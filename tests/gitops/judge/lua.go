package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
)

// customizations is a folder of scripts as Argo CD has them: GROUP/KIND/health.lua, GROUP/KIND/actions/discovery.lua and
// GROUP/KIND/actions/NAME/action.lua.
type customizations string

// As long as Argo CD lets a script run.
const scriptTime = time.Second

// What of os Argo CD leaves to scripts.
var safeOs = []string{"time", "date"}

// health runs the kind's health.lua. A kind without one is no part of an application's health.
func (c customizations) health(live object) (*verdict, error) {
	script := filepath.Join(c.kind(live), "health.lua")
	if _, err := os.Stat(script); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	told, err := run(script, live)
	if err != nil {
		return nil, err
	}
	var health verdict
	if err := json.Unmarshal(told, &health); err != nil {
		return nil, fmt.Errorf("%s returned %s: %w", script, told, err)
	}
	switch health.Status {
	case "Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown":
		return &health, nil
	}
	return nil, fmt.Errorf("%s returned the status %q, which Argo CD does not know", script, health.Status)
}

func (c customizations) kind(live object) string {
	group, _, _ := strings.Cut(text(live["apiVersion"]), "/")
	return filepath.Join(string(c), group, text(live["kind"]))
}

func text(value any) string {
	text, _ := value.(string)
	return text
}

// run runs a script on an object, with what Argo CD gives to scripts of a ConfigMap: the libraries base, package and table, and a
// part of os; no string, no math, no io.
func run(path string, live object) (json.RawMessage, error) {
	script, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.OsLibName: openSafeOs,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.PreloadModule(lua.OsLibName, func(state *lua.LState) int {
		state.Push(state.GetGlobal(lua.OsLibName))
		return 1
	})
	limit, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	state.SetContext(limit)
	state.SetGlobal("obj", luajson.DecodeValue(state, live))
	if err := state.DoString(string(script)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	told := state.Get(-1)
	if told.Type() != lua.LTTable {
		return nil, fmt.Errorf("%s returned no table but %s", path, told.Type())
	}
	return luajson.Encode(told)
}

func openSafeOs(state *lua.LState) int {
	lua.OpenOs(state)
	all := state.GetGlobal(lua.OsLibName)
	safe := state.NewTable()
	for _, name := range safeOs {
		state.SetField(safe, name, state.GetField(all, name))
	}
	state.SetGlobal(lua.OsLibName, safe)
	return 0
}
