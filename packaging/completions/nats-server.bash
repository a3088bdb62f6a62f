# Completion of nats-server for bash, made from its table of flags.

_nats_server() {
    local word=$2 flag=$3 inline=

    # A value behind an equals sign is a word of its own where that sign breaks words.
    if [[ $word == -*=* ]]; then
        flag=${word%%=*} word=${word#*=} inline=yes
    elif [[ $word == = ]]; then
        word='' inline=yes
    elif [[ $flag == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]} inline=yes
    fi
    local prefix=
    [[ $2 == -*=* ]] && prefix=$flag=

    COMPREPLY=()
    if [[ $flag == -* ]]; then
        flag=${flag#-}
        case ${flag#-} in
            P | pid | c | config | l | log | tlscert | tlskey | tlscacert)
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -P "$prefix" -- "$word")
                return
                ;;
            ports_file_dir | store-check | store-dump | sd | store_dir)
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -d -P "$prefix" -- "$word")
                return
                ;;
            sl | signal)
                mapfile -t COMPREPLY < <(compgen -W 'ldm stop quit term reopen reload' -P "$prefix" -- "$word")
                return
                ;;
            a | addr | net | p | port | n | name | server_name | loops | m | http_port | ms | https_port | client_advertise | r | remote_syslog | log_size_limit | max_traced_msg_len | log_format | user | pass | auth | routes | cluster | cluster_name | cluster_advertise | connect_retries | cluster_listen | profile)
                return
                ;;
        esac
        if [[ $inline ]]; then
            mapfile -t COMPREPLY < <(compgen -W 'true false' -P "$prefix" -- "$word")
            return
        fi
    elif [[ $inline ]]; then
        # The PID file behind "-sl stop=".
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W '-a --addr --net -p --port -n --name --server_name -P --pid --loops -m --http_port -ms --https_port -c --config -t -sl --signal --client_advertise --ports_file_dir -l --log -T --logtime --logtime_utc -s --syslog -r --remote_syslog -D --debug -V --trace -VV -DV -DVV --log_size_limit --max_traced_msg_len --log_format --store-check --store-dump -js --jetstream -sd --store_dir --user --pass --auth --tls --tlscert --tlskey --tlsverify --tlscacert --routes --cluster --cluster_name --no_advertise --cluster_advertise --connect_retries --cluster_listen --profile -h --help -v --version --build-info --help_config --help_tls' -- "$word")
}

complete -F _nats_server nats-server
