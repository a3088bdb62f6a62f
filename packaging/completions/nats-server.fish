# Completion of nats-server for fish, made from its table of flags.

complete -c nats-server -f
complete -c nats-server -s a -l addr -l net -x -d 'Address to listen on (default: 0.0.0.0)'
complete -c nats-server -s p -l port -x -d 'Port for clients, -1 for a random one (default: 4222)'
complete -c nats-server -s n -l name -l server_name -x -d 'Name of this server (default: its id)'
complete -c nats-server -s P -l pid -r -F -d 'File to write the process id to'
complete -c nats-server -l loops -x -d 'Number of client loops (default: by the number of cores)'
complete -c nats-server -o sl -l signal -x -a 'ldm stop quit term reopen reload' -d 'Send ldm, stop, quit, term, reopen or reload to a running server'
complete -c nats-server -l ports_file_dir -x -a '(__fish_complete_directories)' -d 'Directory for a file that lists the ports in use'
complete -c nats-server -s T -l logtime -d 'Start log lines with the time (default: true)'
complete -c nats-server -l logtime_utc -d 'Log the time in UTC, not in local time (default: false)'
complete -c nats-server -s D -l debug -d 'Log debug lines'
complete -c nats-server -s V -l trace -d 'Log the protocol'
complete -c nats-server -o VV -d 'Log the protocol, that of the system account too'
complete -c nats-server -o DV -d 'Log debug lines and the protocol'
complete -c nats-server -o DVV -d 'Log debug lines and the protocol, that of the system account too'
complete -c nats-server -s h -l help -d 'Show this text'
complete -c nats-server -s v -l version -d 'Show the version'
