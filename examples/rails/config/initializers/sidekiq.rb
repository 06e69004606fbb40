# Sidekiq 6 and earlier can live in a namespace (gem "redis-namespace"). Sidekiq 7 and later refuse one, and
# without it all branches would work on one queue: those need redis.mode: database in the blueprint.
settings = Rails.application.config_for(:redis)
redis = { url: settings[:url], db: settings[:db] }

if settings[:namespace].present?
  if Gem::Version.new(Sidekiq::VERSION) >= Gem::Version.new("7")
    raise "Sidekiq #{Sidekiq::VERSION} refuses namespaces: use redis.mode: database in the blueprint"
  end
  redis[:namespace] = settings[:namespace]
end

Sidekiq.configure_server { |config| config.redis = redis }
Sidekiq.configure_client { |config| config.redis = redis }
