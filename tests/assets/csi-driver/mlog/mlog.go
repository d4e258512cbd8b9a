// Package mlog holds the functions of monis.app/mlog that the driver calls. They write to klog.
package mlog

import (
	"context"

	"k8s.io/klog/v2"
)

// LogFormat is the value of the driver's --log-format flags.
type LogFormat string

// The formats. Both write klog's text.
const (
	FormatText LogFormat = "text"
	FormatJSON LogFormat = "json"
)

// Setup returns the function that flushes the log.
func Setup() func() { return klog.Flush }

// Fatal logs the error and exits.
func Fatal(err error) { klog.Fatal(err) }

// Error logs an error.
func Error(message string, err error, keysAndValues ...any) {
	klog.ErrorS(err, message, keysAndValues...)
}

// ValidateAndSetKlogLevelAndFormatGlobally accepts every level and format.
func ValidateAndSetKlogLevelAndFormatGlobally(context.Context, klog.Level, LogFormat) error {
	return nil
}
